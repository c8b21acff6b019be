"""What the story of updates is told with: a shop and its manifests, pods, and customers who go on asking."""
