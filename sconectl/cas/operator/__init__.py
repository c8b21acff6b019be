"""The operator: brings signed and encrypted sessions from custom resources of Kubernetes into a CAS."""
