"""What the platform decides without touching anything outside."""
