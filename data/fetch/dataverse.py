"""HAM10000 from the Harvard Dataverse, where its authors published it: no account is needed.

API: https://guides.dataverse.org/en/latest/api/native-api.html and .../dataaccess.html
"""

from dataclasses import dataclass
from typing import Any

from hamcache.data.errors import DownloadError
from hamcache.data.fetch.checksums import Digest, named_digest
from hamcache.data.fetch.http import Http, RemoteFile

SERVER = "https://dataverse.harvard.edu"
DOI = "doi:10.7910/DVN/DBW86T"
FILES = {
    "HAM10000_metadata.csv": 4338392,
    "HAM10000_images_part_1.zip": 3172585,
    "HAM10000_images_part_2.zip": 3172584,
}


@dataclass(frozen=True)
class Dataverse:
    """The metadata and the two archives of images; the Dataverse's catalogue gives the sizes and digests of these."""

    server: str = SERVER

    def files(self, http: Http) -> list[RemoteFile]:
        """The three files, the metadata first.

        Raises:
            DownloadError: the catalogue cannot be had, or does not list them.
        """
        url = f"{self.server}/api/datasets/:persistentId/?persistentId={DOI}"
        catalogue = http.json(url, f"the catalogue of {self.server}", self._advice)
        try:
            listed = {file["dataFile"]["id"]: file["dataFile"] for file in catalogue["data"]["latestVersion"]["files"]}
        except (KeyError, TypeError):
            raise DownloadError(f"{url}: expected a list of files, but got something else. {self._advice(0)}") from None
        absent = [name for name, number in FILES.items() if number not in listed]
        if absent:
            raise DownloadError(f"{self.server} no longer lists {', '.join(absent)} under {DOI}. {self._advice(0)}")
        return [self._file(http, name, listed[number]) for name, number in FILES.items()]

    def _file(self, http: Http, name: str, entry: dict[str, Any]) -> RemoteFile:
        url = f"{self.server}/api/access/datafile/{entry['id']}"
        if "originalFileFormat" in entry:
            # A table that the Dataverse has converted. What it lists for one may be of either form
            # (github.com/IQSS/dataverse/issues/5321 and /9501), so the content itself is checked later.
            return RemoteFile(name, lambda: http.request(f"{url}?format=original"), self._advice)
        return RemoteFile(name, lambda: http.request(url), self._advice, entry.get("filesize"), _digest(entry))

    def _advice(self, status: int) -> str:
        return (
            f"Try again later; or fetch {', '.join(FILES)} by hand from https://doi.org/{DOI.removeprefix('doi:')} "
            "and give them with --source FILE FILE FILE; or use --source kaggle."
        )


def _digest(entry: dict[str, Any]) -> Digest | None:
    checksum = entry.get("checksum") or {"type": "MD5", "value": entry.get("md5", "")}
    return named_digest(checksum.get("type", ""), checksum.get("value", ""))
