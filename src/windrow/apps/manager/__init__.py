"""The manager: what is written into a cluster's objects besides what agents say of their own nodes."""
