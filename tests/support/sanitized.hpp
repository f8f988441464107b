// Whether a sanitizer of memory or of threads slows this build: tests that try many cases try fewer then.
#pragma once

namespace support {

inline constexpr bool sanitized =
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    true;
#else
    false;
#endif

}  // namespace support
