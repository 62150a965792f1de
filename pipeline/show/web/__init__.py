"""One skin for the report and the served page: templates, style, scripts, names of scores, pictures of images."""
