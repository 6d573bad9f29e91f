"""Campaigns on clusters: Slurm job scripts with a launcher of our own, Ray Jobs, and KubeRay manifests."""
