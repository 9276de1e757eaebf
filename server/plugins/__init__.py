"""What installed packages bring: lists for people, forms and commands; faults by name."""
