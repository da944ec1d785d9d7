"""Documents for the people who answer for a model: written from records, and silent on nothing that they leave open.

The wording is in the templates beside this file (`*.md.jinja`), for a lawyer to read and to edit; figures come from the
records only. Where a rule asks for something that no record holds, the text says "not recorded" and a number, and the
last section lists every such place. Nothing here is legal advice.
"""

from sdk.documents.dossier import Decided, Dossier, Happened, TakenIn
from sdk.documents.pages import to_html
from sdk.documents.write import TITLES, Format, documents, write

__all__ = ["TITLES", "Decided", "Dossier", "Format", "Happened", "TakenIn", "documents", "to_html", "write"]
