"""Ray workers encode the files of an object store; pages go to a Chroma server, pictures back.

    export AWS_ENDPOINT_URL=… AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=…    # of the store
    python examples/ray_object_store_chroma_server.py s3://bucket http://chroma:8000 "what is it"

Two workers of a Ray cluster on this machine (RAY_ADDRESS names another one) read and encode what is
in ``s3://bucket/docs``; pictures of pages are kept in ``s3://bucket/pictures``, the pages on the
server (CHROMA_TENANT names a tenant). Whoever opens the index with the same two addresses finds
pages and pictures, on any machine.
"""

import os
import sys

from metaembed_rag import PageIndex
from metaembed_rag.ray import RayOptions, sync_files


def main(bucket: str, server: str, question: str) -> None:
    """Index what is in the bucket, and ask about it."""
    pictures = f"{bucket}/pictures"
    cluster = RayOptions(os.environ.get("RAY_ADDRESS"), workers=2)
    tenant = os.environ.get("CHROMA_TENANT", "default_tenant")
    with PageIndex.open(server, tenant=tenant, pictures=pictures) as index:
        report = sync_files(index, [f"{bucket}/docs"], cluster)
        print(report)
        for error in report.skipped:
            print(f"  skipped {error}")
        for hit in index.search(question, k=3, budget="balanced"):
            picture = hit.page.load_image()
            size = "no picture" if picture is None else "{} x {}".format(*picture.size)
            page = f"{hit.page.source}, page {hit.page.number}"
            print(f"  {hit.rank}. {hit.score:.3f}  {page}, {size}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
