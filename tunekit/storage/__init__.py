"""Where the files of a sweep lie: on a disk, or in an object store (Amazon S3, Google Cloud Storage, MinIO).

Nothing in this package knows what a trial is.

``paths``           turns what a user gives for ``--storage`` into a ``Place``, a path on either kind of storage.
``object_path``     is the path of an object; it has the part of pathlib's interface that the other packages use.
``object_errors``   turns the answers of an object store's server into errors of one clear line.
``files``           writes, moves and copies files so that no reader sees half of one.
``lease``           makes sure that one driver at a time runs a sweep.

A *snapshot* is a path with a list of everything below it that was made once, so that later questions need no request to
the server.
"""
