"""Speed, measured beside the peers in the same run; ratios, not absolute promises."""
