"""From statements to what people look at: tables, plots, the page."""
