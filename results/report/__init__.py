"""One HTML file of one or several searches: what is read from ledgers, and the page that shows it."""
