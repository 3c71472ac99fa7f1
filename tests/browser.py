"""A real Chromium, as every test of a page starts it."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright, expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The same engine without what stands around a page in a window, which takes a fourth less CPU. It records no sound.
SHELL = shutil.which("chromium-headless-shell")
# What no page of ours has use for. Chromium heeds the last list it is given, so Playwright's own is said again first.
OFF = [
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
    # Of the 390 ms of CPU that an empty context takes, 180 go into pages of the address bar's own, which nobody sees,
    # and 50 into a renderer for whatever might be opened next.
    "SpareRendererForSitePerProcess",
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxPopup",
]
# Nothing of its own may go out while a test looks at what the page asks for.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--site-per-process",  # as a browser on a desk does by itself: a frame without rights has a process of its own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(OFF)}",
]
# For a state of a page, and for what is done to it: a busy machine is no fault of the page.
PATIENCE = 45_000  # milliseconds
expect.set_options(timeout=PATIENCE)


@asynccontextmanager
async def chromium(*flags: str, whole: bool = False) -> AsyncIterator[Browser]:
    """One browser, with more flags if need be; the test is skipped where there is none. It is the whole one only where
    that is asked for, or where there is no other."""
    executable = CHROMIUM if whole else SHELL or CHROMIUM
    if executable is None:
        pytest.skip("there is no Chromium on PATH (Debian: apt install chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            await browser.close()
