"""Evidence of all nodes x what is wanted -> findings: one per cause, with how sure it is, the evidence and the fix.

Pure: nothing here listens or asks, so each case of a broken network is a value in a test.
"""
