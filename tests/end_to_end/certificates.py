"""Certificates for tests, made by OpenSSL for each of them."""

import subprocess
import tempfile
from pathlib import Path

# The extensions come from the command line alone.
CONFIG = "[req]\ndistinguished_name = name\n[name]\n"


class Authority:
    """A CA in a folder of its own, to be used in a `with` statement."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="goldcrest-ca-")
        self.path = Path(self.folder.name)
        (self.path / "openssl.cnf").write_text(CONFIG)
        # Each has another name: a certificate is looked up by the name of its issuer.
        self.name = f"CA {self.path.name}"
        self.certificate, self.key = self._make(self.name, ["basicConstraints=critical,CA:TRUE", "keyUsage=keyCertSign,cRLSign"])

    def issue(self, common_name, *names, rsa=False):
        """Makes a certificate with these host names and addresses. Returns the files with the certificate and the key."""
        kinds = ("IP" if name.replace(".", "").isdigit() else "DNS" for name in names)
        extensions = ["basicConstraints=CA:FALSE"]
        if names:
            extensions.append("subjectAltName=" + ",".join(f"{kind}:{name}" for kind, name in zip(kinds, names)))
        signed = ["-CA", self.certificate, "-CAkey", self.key]
        return self._make(common_name, extensions, signed, rsa)

    def by_hash(self):
        """A folder in which OpenSSL finds the certificate of the CA by the hash of its name."""
        folder = self.path / "by-hash"
        folder.mkdir(exist_ok=True)
        name = self._openssl("x509", "-in", self.certificate, "-noout", "-hash").strip()
        (folder / f"{name}.0").write_bytes(self.certificate.read_bytes())
        return folder

    def table(self, transport, own=None):
        """A table `[[listener]]` of a configuration, on a port that the system chooses. `own` are the files of the server."""
        table = f'[[listener]]\naddress = "127.0.0.1:0"\ntransport = "{transport}"\n'
        if own:
            table += f'certificate = "{own[0]}"\nkey = "{own[1]}"\n'
        return table

    def _make(self, common_name, extensions, signed=(), rsa=False):
        certificate, key = (self.path / f"{common_name.replace(' ', '-')}.{end}" for end in ("pem", "key"))
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        extensions = [part for extension in extensions for part in ("-addext", extension)]
        files = ["-keyout", key, "-out", certificate]
        options = ["-config", self.path / "openssl.cnf", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={common_name}"]
        self._openssl("req", *options, "-newkey", *kind, *extensions, *signed, *files)
        return certificate, key

    def _openssl(self, *arguments):
        done = subprocess.run(["openssl", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()
