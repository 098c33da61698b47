"""The language users write: definitions, conditions, templates. Pure, and the only meaning a runbook has.
 `conditions` decides whether an event fires a rule, `templates` turns a config into an action's input,
`definition` is a runbook in memory. `reading` makes one from a user's document and says everything that is
wrong with it; `pinned` makes one from the bytes that a run was started on.
"""
