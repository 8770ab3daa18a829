"""The page's table of the client's own error."""

from accelbench.report import calibration
from accelbench.report.page_tables import Cell, Table


def client_error() -> Table | None:
    """Return the error under each load, if the client was calibrated in this folder."""
    record = calibration.read_calibration()
    if record is None:
        return None
    rows = [[Cell(*shown) for shown in row] for row in calibration.rows(record)]
    return Table("calibration", calibration.TITLE, calibration.COLUMNS, rows, calibration.notes(record))
