"""Format a report: its page, tables, figures and dashboard."""
