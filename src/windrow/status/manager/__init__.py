"""What the manager of a cluster writes into its objects, as Harvester's does: from what is stored to what differs.

Once all of it is written nothing is left to write, so the manager never answers its own writing.
"""
