"""What a session consists of: secrets, services, volumes, references, access policy, attestation."""
