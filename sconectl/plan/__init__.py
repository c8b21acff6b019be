"""Stage 2: validated manifests and facts about images become plans. Pure."""
