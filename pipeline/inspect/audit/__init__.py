"""The audit: lesions photographed twice, and labels that look wrong."""
