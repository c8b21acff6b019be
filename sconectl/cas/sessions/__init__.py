"""What a CAS does with sessions: access, uploads, imports from sessions here and in other CASes."""
