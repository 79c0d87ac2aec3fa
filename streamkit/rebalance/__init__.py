"""KIP-1071: the rules that both ends of a streams group share, the assignor, the member."""
