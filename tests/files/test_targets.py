"""How URLs and addresses are read: one way, and hostile spellings not at all."""

import pytest

from shim.errors import ConfigurationError, RequestError
from shim.files.addresses import is_public
from shim.files.targets import AllowList, redirected, target_of

# fmt: off
PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254", "127.0.0.1",
    "127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::",
    "2002:808:808::", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0",
    "fec0::1", "ff02::1", "4000::1", "localhost",
    # where clouds serve credentials: Azure's host, Alibaba, Tencent, ECS, EKS, Oracle, AWS, Google, Oracle
    "168.63.129.16", "100.100.100.200", "169.254.0.23", "169.254.170.2", "169.254.170.23", "192.0.0.192",
    "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fe80::a9fe:a9fe",
    # ISATAP: 10.0.0.1 and 127.0.0.1 in two spellings
    "2606:4700::5efe:10.0.0.1", "2a00:1450::200:5efe:127.0.0.1",
]
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "93.184.216.34", "100.63.255.255", "100.128.0.0", "128.0.0.1",
    "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.1", "192.167.255.255", "192.169.0.0",
    "168.63.129.15", "168.63.129.17",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111",
    "2a00:1450::1", "2003::1",
]
# fmt: on


@pytest.mark.parametrize("address", PRIVATE)
def test_what_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address):
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.com", ("http", "example.com", 80, "/", "example.com")),
        ("HTTPS://Example.COM:443/a/b.png?x=1#part", ("https", "example.com", 443, "/a/b.png?x=1", "example.com")),
        ("http://example.com.:8080/", ("http", "example.com", 8080, "/", "example.com:8080")),
        ("http://example.com:/x y/ü?q=ä b", ("http", "example.com", 80, "/x%20y/%C3%BC?q=%C3%A4%20b", "example.com")),
        ("https://bücher.example/%41", ("https", "xn--bcher-kva.example", 443, "/%41", "xn--bcher-kva.example")),
        ("http://my_host-1/", ("http", "my_host-1", 80, "/", "my_host-1")),
        ("http://8.8.8.8/", ("http", "8.8.8.8", 80, "/", "8.8.8.8")),
        ("http://⑧.⑧.8。8/", ("http", "8.8.8.8", 80, "/", "8.8.8.8")),
        ("http://[2606:4700:0::1111]:81/", ("http", "2606:4700::1111", 81, "/", "[2606:4700::1111]:81")),
    ],
)
def test_a_url_has_one_reading(url, expected):
    target = target_of(url)
    assert (target.scheme, target.host, target.port, target.path, target.authority) == expected


REFUSED = [
    "",
    "example.com/x.png",
    "//example.com/x",
    "/etc/passwd",
    "file:///etc/passwd",
    "ftp://example.com/",
    "gopher://example.com/",
    "javascript:alert(1)",
    "dict://127.0.0.1:11211/",
    "http:/127.0.0.1/",
    "http:///127.0.0.1/",
    "http://",
    "http://?x",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://example.com@127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http://example.com\\.evil.test/",
    "http://exa\tmple.com/",
    "http://example.com/a\r\nHost: x",
    "http://example.com/\0",
    "http://exa mple.com/",
    "http://example..com/",
    "http://-.com/",
    "http://.example.com/",
    "http://%31%32%37.0.0.1/",
    "http://127.0.0.1%00.example.com/",
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:-1/",
    "http://example.com:80a/",
    "http://example.com:٨٠/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://0177.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.1.5/",
    "http://127.0.0.01/",
    "http://127.0.0.0x1/",
    "http://256.1.1.1/",
    "http://0x/",
    "http://example.0x1/",
    "http://②①③⓪⑦⓪⑥④③③/",
    "http://⓪x7f.1/",
    "http://127。1/",
    "http://[::1/",
    "http://::1/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[127.0.0.1]/",
    "http://[::1]evil.test/",
    "http://evil.test[::1]/",
    "http://[[::1]]/",
    "http://[v1.x]/",
    "http://xn--/",
    "http://" + "a" * 64 + ".test/",
    "http://" + "a." * 130 + "test/",
    "http://example.com/" + "a" * 9000,
]


@pytest.mark.parametrize("url", REFUSED)
def test_odd_spellings_are_refused_and_not_quoted(url):
    with pytest.raises(RequestError) as raised:
        target_of(url)
    assert raised.value.code == "file_url_not_allowed"
    assert "secret" not in raised.value.message
    assert "127" not in raised.value.message


def test_the_name_is_the_last_word_of_the_path():
    assert target_of("http://a.test/x/caf%C3%A9.png?token=1").name == "café.png"
    assert target_of("http://a.test").name == ""


def test_a_redirect_is_read_against_its_page():
    assert redirected("http://a.test/x/y", "../z") == "http://a.test/z"
    with pytest.raises(RequestError, match="malformed"):
        redirected("http://a.test/", "http://[")


@pytest.mark.parametrize(
    ("entries", "url", "expected"),
    [
        (["files.test"], "http://files.test/x", True),
        (["files.test"], "https://FILES.test./x", True),
        (["files.test"], "http://files.test:8080/x", False),
        (["files.test:8080"], "http://files.test:8080/x", True),
        (["files.test:8080"], "http://files.test/x", False),
        (["files.test:443"], "https://files.test/x", True),
        (["files.test:443"], "http://files.test/x", False),
        (["files.test"], "http://sub.files.test/x", False),
        (["files.test"], "http://files.test.evil.test/x", False),
        (["10.0.0.1:81"], "http://10.0.0.1:81/x", True),
        (["[fd00:0::1]"], "http://[fd00::1]/x", True),
        (["[fd00::1]:81"], "http://[fd00::1]:81/x", True),
        ([], "http://files.test/x", False),
    ],
)
def test_what_the_operator_opens(entries, url, expected):
    assert AllowList(entries).allows(target_of(url)) is expected


@pytest.mark.parametrize("entry", ["http://files.test", "files.test/x", "a:b", "fd00::1", "127.1", "*", ""])
def test_an_allow_list_that_means_nothing_is_an_error(entry):
    with pytest.raises(ConfigurationError, match="ALLOW_PRIVATE_URLS"):
        AllowList([entry])
