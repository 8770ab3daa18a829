"""What people read: tables, plots, the page."""
