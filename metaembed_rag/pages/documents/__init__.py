"""Documents that are no PDF, picture or plain text: Office, the web, mail, books and tables.

::

    formats.py  what the bytes of such a file are, whatever its name says
    archives.py zip containers, looked at before anything unpacks them
    soffice.py, guard.py   LibreOffice, found on the machine and run within limits: Office -> PDF
    sheets.py   workbooks by LibreOffice: a page a sheet, with its picture where it can be read
    extracted.py    the text of Office documents by kreuzberg, where there is no LibreOffice
    notes.py    what stands below slides
    counting.py about how many pages there will be
    markup.py   HTML and XML -> text with headings
    tables.py   CSV and TSV -> pages that repeat their header
    mail.py, books.py   e-mails, EPUB
    pages.py    texts with sections -> pages
    client.py, worker.py   all of it, in processes with limits
"""
