"""The training loop of the comparison: arms that differ in what a text becomes, all else alike.

It also trains one vector a text, token-level late interaction, and Meta Tokens that follow a
token-level teacher, on token ids that are drawn anew at each step. The shipped ``mini`` was made by
it (commit a870c41); ``recipes/mini`` uses the loop of ``metaembed train`` now.
"""
