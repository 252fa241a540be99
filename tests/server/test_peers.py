"""Names of users in certificates, as RabbitMQ 3.10.8 finds them (observed)."""

from typing import Any

import pytest

from mansio.server.peers import certificate_user, distinguished_name


def subject(*parts: tuple[str, str]) -> tuple[tuple[tuple[str, str], ...], ...]:
    return tuple((part,) for part in parts)


FULL = (
    *subject(
        ("countryName", "DE"),
        ("stateOrProvinceName", "Bayern"),
        ("localityName", "München"),
        ("organizationName", 'Acme, Inc. + "x" \\ <y>;'),
    ),
    (("organizationalUnitName", "#dev"), ("title", " lead ")),
    *subject(
        ("domainComponent", "example"),
        ("streetAddress", "a=b"),
        ("postalCode", "1"),
        ("userId", "u1"),
        ("serialNumber", "42"),
        ("surname", "sn"),
        ("givenName", "gn"),
        ("initials", "in"),
        ("generationQualifier", "gq"),
        ("pseudonym", "ps"),
        ("emailAddress", "a@b"),
        ("commonName", "Ann"),
        ("commonName", "Bob"),
    ),
)
OBSERVED = (
    "CN=Bob,CN=Ann,EMAILADDRESS=a@b,PSEUDONYM=ps,GENERATIONQUALIFIER=gq,INITIALS=in,GIVENNAME=gn,"
    "SN=sn,SERIALNUMBER=42,UID=u1,2.5.4.17=1,2.5.4.9=a=b,DC=example,OU=\\#dev+TITLE=\\ lead\\ ,"
    'O=Acme\\, Inc. \\+ \\"x\\" \\\\ \\<y\\>\\;,L=M\\C3\\BCnchen,ST=Bayern,C=DE'
)
NAMES = (("email", "mail@x"), ("DNS", "dns1"), ("DNS", "dns2"), ("IP Address", "10.0.0.1"))


def test_a_distinguished_name_with_everything_in_it() -> None:
    assert distinguished_name(FULL) == OBSERVED


@pytest.mark.parametrize(
    ("certificate", "source", "user"),
    [
        ({"subject": FULL}, "common_name", "Ann,Bob"),
        ({"subject": subject(("organizationName", "o"))}, "common_name", ""),
        ({"subject": FULL}, "distinguished_name", OBSERVED),
        ({"subject": subject(("organizationName", "o"))}, "distinguished_name", "O=o"),
        ({"subject": ()}, "distinguished_name", ""),
        ({"subject": FULL, "subjectAltName": NAMES}, "subject_alternative_name", "dns1"),
        ({"subject": FULL}, "subject_alternative_name", ""),
        (
            {"subject": FULL, "subjectAltName": NAMES[:1]},
            "subject_alternative_name",
            "",
        ),
    ],
)
def test_the_user_of_a_certificate(certificate: dict[str, Any], source: str, user: str) -> None:
    assert certificate_user(certificate, source) == user


def test_a_control_character_stays_visible() -> None:
    assert distinguished_name(subject(("commonName", "a\0\nb\x7f"))) == "CN=a\\00\\0Ab\\7F"
