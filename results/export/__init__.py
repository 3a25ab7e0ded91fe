"""What leaves the project: block specs, and networks in forms that need nothing of ours."""
