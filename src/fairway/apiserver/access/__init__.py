"""Who may do what: users and their proofs, rules and roles, limits, and the log of what was done.

::

    request ─▶ authentication ─▶ limits ─▶ authorization ─▶ verbs ─▶ audit log
               who is it?        too much?  may they?                who did what
"""
