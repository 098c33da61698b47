"""Class finding: change the finding, through the platform."""
