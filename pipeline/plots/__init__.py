"""Pictures: one module a subject, all in one style."""
