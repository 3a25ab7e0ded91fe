"""What a study says of the proxy task: its statistics, report and plot."""
