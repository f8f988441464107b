// Element work of padding as row bodies: a row is a chunk of one plane of a field.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include <dpgather/core/config.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/pad/batch_field.hpp>

namespace dpgather::detail {

/// Work on elements `[0, count)` of each plane, in chunks so that long fields use many blocks.
template <class Op>
struct ChunkBody {
  static constexpr std::int64_t chunk = 1024;
  Op op;
  std::int64_t count;
  std::int64_t chunks;
  DPGATHER_HD void operator()(std::int64_t row, int lane, int lanes) const {
    const std::int64_t begin = row % chunks * chunk;
    const std::int64_t end = count - begin < chunk ? count : begin + chunk;
    op(row / chunks, begin, end, lane, lanes);
  }
  [[nodiscard]] std::int64_t row_bytes() const { return std::min(count, chunk) * 4; }
};

template <class Stream, class Op>
void launch_chunks(Stream stream, std::string_view name, std::int64_t planes, std::int64_t count,
                   Op op) {
  const std::int64_t chunks = (count + ChunkBody<Op>::chunk - 1) / ChunkBody<Op>::chunk;
  launch(stream, name, planes * chunks, ChunkBody<Op>{op, count, chunks});
}

template <class E>
DPGATHER_HD void fill_elements(E* to, std::int64_t n, E fill, int lane, int lanes) {
  for (std::int64_t i = lane; i < n; i += lanes) to[i] = fill;
}

/// The first `have` elements of a plane of `to` come from `from`, the rest become the fill.
template <class E>
struct CopyAndFill {
  BatchField<E> from, to;
  std::int64_t have;
  E fill;
  DPGATHER_HD void operator()(std::int64_t plane, std::int64_t begin, std::int64_t end, int lane,
                              int lanes) const {
    const std::int64_t split = have < begin ? begin : have < end ? have : end;
    copy_elements(to.row(0, plane) + begin, from.row(0, plane) + begin, split - begin, lane, lanes);
    fill_elements(to.row(0, plane) + split, end - split, fill, lane, lanes);
  }
};

/// Elements of each plane from row `first` on become the fill.
template <class E>
struct Fill {
  BatchField<E> field;
  std::int64_t first;
  E fill;
  DPGATHER_HD void operator()(std::int64_t plane, std::int64_t begin, std::int64_t end, int lane,
                              int lanes) const {
    fill_elements(field.row(first, plane) + begin, end - begin, fill, lane, lanes);
  }
};

/// Elements of each plane from row `first` on go to `saved`, `[planes, count]`.
template <class E>
struct Save {
  BatchField<E> field;
  std::int64_t first;
  E* saved;
  std::int64_t count;
  DPGATHER_HD void operator()(std::int64_t plane, std::int64_t begin, std::int64_t end, int lane,
                              int lanes) const {
    copy_elements(saved + plane * count + begin, field.row(first, plane) + begin, end - begin, lane,
                  lanes);
  }
};

/// The way back from `saved`.
template <class E>
struct Restore {
  BatchField<E> field;
  std::int64_t first;
  const E* saved;
  std::int64_t count;
  DPGATHER_HD void operator()(std::int64_t plane, std::int64_t begin, std::int64_t end, int lane,
                              int lanes) const {
    copy_elements(field.row(first, plane) + begin, saved + plane * count + begin, end - begin, lane,
                  lanes);
  }
};

}  // namespace dpgather::detail
