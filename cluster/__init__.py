"""The code behind ``tasks.py``.

Imports point downwards only, and the import contract in ``pyproject.toml`` says so::

    cli                          errors become a sentence, a hint and an exit code
    commands                     what each command does
    preview                      a first look at a run's files
    engines        session       local: tap | target as two processes; what a command receives
    environments   runs          uv makes the connectors' environments; run records
    store          connectors    buckets (folders or S3); what stands in singer-configs/
    progress       settings      what people and programs see; what users may choose
    fields         files         strict reading of what people write; private folders
    errors                       problem, hint, code

``minio`` is imported by ``store`` alone, ``rich`` by ``progress`` alone.
"""
