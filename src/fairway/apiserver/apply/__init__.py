"""Server-side apply: who owns which field of an object, and what follows when somebody applies a configuration. Pure.

::

    fields      sets of fields, as tries (the FieldsV1 of ``metadata.managedFields``)
    walk        a document, seen through its schema: which fields it has, how two differ, how they merge
    owners    who owns what: ``metadata.managedFields`` as a value, and back
    ownership   what a write does to it: an update takes fields over, an apply merges, prunes, or conflicts
"""
