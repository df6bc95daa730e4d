"""What a run says of itself: summary, recovery of known truth, plan, columns, kept results."""
