"""The changes between two versions of a session, for reviewers who have to approve them."""
