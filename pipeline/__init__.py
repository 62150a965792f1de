"""From a configuration to finished runs, studies, pages and commands."""
