"""Who may knock at the doors that this program opens."""
