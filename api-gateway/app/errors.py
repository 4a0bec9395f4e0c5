"""Every way in which a request can fail, and the one body that says so.

The worker owns this file; the gateway holds a byte-for-byte copy, checked by a test.

    ServiceError                       500 internal_error
    |- InvalidRequest                  400 invalid_value        (param names the field)
    |  |- UnknownParameter             400 unknown_parameter
    |  |- MissingField                 400 missing_required_parameter
    |  |- InvalidAudio                 400 invalid_audio
    |  |  `- AudioTooShort             400 audio_too_short
    |  `- UnsupportedMedia             400 unsupported_media_type
    |- MissingKey                      401 missing_api_key
    |- InvalidKey                      403 invalid_api_key      (401 on /v1)
    |- NotFound                        404 not_found
    |  `- ModelNotFound                404 model_not_found
    |- MethodNotAllowed                405 method_not_allowed
    |- RequestTimeout                  408 request_timeout
    |- FileTooLarge                    413 file_too_large
    |  `- AudioTooLong                 413 audio_too_long
    |- NotImplementedYet               501 not_implemented      (never retried)
    |- WorkerLost                      502 worker_unavailable
    |- Overloaded                      503 overloaded
    |  |- ModelPending                 503 model_pending
    |  |- ModelUnavailable             503 model_unavailable    (never retried)
    |  `- WorkerUnreachable            503 worker_unavailable
    |- WorkerTimeout                   504 worker_timeout
    `- StorageFull                     507 storage_full
"""

import errno
import math
from http import HTTPStatus


class ServiceError(Exception):
    """A failure that a client is told of: its message is safe to show."""

    status: int = 500
    code: str = "internal_error"
    retryable: bool | None = None
    """True or False is told to the SDKs as `x-should-retry`; None leaves them their own rule."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.headers = headers or {}


class InvalidRequest(ServiceError):
    status, code = 400, "invalid_value"


class UnknownParameter(InvalidRequest):
    code = "unknown_parameter"


class MissingField(InvalidRequest):
    """Something is missing that may still come, since fields may follow the file."""

    code = "missing_required_parameter"


class InvalidAudio(InvalidRequest):
    code = "invalid_audio"


class AudioTooShort(InvalidAudio):
    code = "audio_too_short"


class UnsupportedMedia(InvalidRequest):
    code = "unsupported_media_type"


class MissingKey(ServiceError):
    status, code = 401, "missing_api_key"


class InvalidKey(ServiceError):
    status, code = 403, "invalid_api_key"


class NotFound(ServiceError):
    status, code = 404, "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(ServiceError):
    status, code = 405, "method_not_allowed"


class RequestTimeout(ServiceError):
    status, code = 408, "request_timeout"


class FileTooLarge(ServiceError):
    status, code = 413, "file_too_large"


class AudioTooLong(FileTooLarge):
    code = "audio_too_long"


class NotImplementedYet(ServiceError):
    status, code, retryable = 501, "not_implemented", False


class WorkerLost(ServiceError):
    status, code = 502, "worker_unavailable"


class Overloaded(ServiceError):
    status, code = 503, "overloaded"


class ModelPending(Overloaded):
    code = "model_pending"


class ModelUnavailable(Overloaded):
    code, retryable = "model_unavailable", False


class WorkerUnreachable(Overloaded):
    code = "worker_unavailable"


class WorkerTimeout(ServiceError):
    status, code = 504, "worker_timeout"


class StorageFull(ServiceError):
    status, code = 507, "storage_full"


class RemoteError(ServiceError):
    """An error that the other service has already worded: passed on as it is."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after=retry_after)
        self.status, self.code, self.retryable = status, code, retryable


def error_type(status: int) -> str:
    """The `type` that OpenAI's SDKs expect for a status."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"


def error_object(error: ServiceError) -> dict[str, str | None]:
    """What stands under `error`: in a body, and in a stream after its first byte."""
    return {
        "message": error.message,
        "type": error_type(error.status),
        "param": error.param,
        "code": error.code,
    }


def error_body(error: ServiceError) -> dict[str, object]:
    """The body of every error: `detail` for the documented clients, `error` for OpenAI's SDKs."""
    return {"detail": error.message, "error": error_object(error)}


def error_headers(error: ServiceError) -> dict[str, str]:
    """`Retry-After` in whole seconds from 1 to 60 or `x-should-retry`, and the error's own headers."""
    headers = dict(error.headers)
    is_passing = error.retry_after is not None or error.status in (429, 503)
    if is_passing and error.retryable is not False:
        seconds = error.retry_after if error.retry_after is not None else 1
        headers["Retry-After"] = str(min(60, max(1, math.ceil(seconds))))
    if error.retryable is not None:
        headers["x-should-retry"] = str(error.retryable).lower()
    return headers


OF_A_FILE = (
    InvalidRequest("beam_size: Input should be less than or equal to 20", param="beam_size"),
    UnknownParameter("Unknown parameter: 'colour'", param="colour"),
    InvalidAudio("The file is empty", param="file"),
    AudioTooShort("The audio is shorter than 0.1 seconds", param="file"),
    UnsupportedMedia("The file is not audio or video in a format that is taken", param="file"),
    RequestTimeout("The request took too long to arrive"),
    FileTooLarge("The upload is larger than the limit of 1073741824 bytes", param="file"),
    AudioTooLong("The audio is longer than 14400 seconds", param="file"),
    ServiceError("Internal server error"),
    Overloaded("The queue is full", retry_after=8),
    ModelPending("The model 'large-v3' is still loading", retry_after=10),
    ModelUnavailable("The model 'large-v3' could not be loaded", param="model"),
    StorageFull("The server has no room left for uploads"),
)
"""What a request with a file may meet at either service: the examples of the OpenAPI pages."""


def lacks_files(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that no further file or connection can be opened."""
    if isinstance(error, BaseExceptionGroup):
        return any(lacks_files(one) for one in error.exceptions)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    return error is not None and lacks_files(error.__cause__ or error.__context__)


def no_files_left() -> Overloaded:
    """What a request is told then."""
    return Overloaded("There are as many open files as there may be")
