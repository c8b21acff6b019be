"""What changes between two versions of a session, for somebody who has to approve it."""
