"""The terms of XTTS's weights, which are not those of this package."""

LICENSE_TERMS = """\
The weights of XTTS v2 are under the Coqui Public Model License 1.0.0 (CPML): you may use the model
and what it says for non-commercial purposes only. The full text: https://coqui.ai/cpml.txt
Cloning a voice needs the consent of the one whose voice it is."""


class LicenseNotAcceptedError(ValueError):
    """The terms of the weights were not accepted."""


def require_acceptance(accept_license: bool) -> None:
    """Lets no one use the weights who has not said yes to their terms.

    Raises:
        LicenseNotAcceptedError: Not `True`.
    """
    if accept_license is not True:
        raise LicenseNotAcceptedError(
            f"{LICENSE_TERMS}\nTo accept these terms, pass accept_license=True."
        )
