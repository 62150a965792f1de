"""Pictures and pages that people look at: plots, the report, and the skin that pages share."""
