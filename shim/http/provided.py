"""What the application provides to handlers, by type."""

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from shim.exchange import Gateway

TheGateway = NamedDependency[SkipValidation[Gateway]]
