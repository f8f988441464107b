// message: LenRule
#include <dpgather/exchange/auto_mode.hpp>

struct Sometimes {
  dpgather::LenMode choose(const dpgather::StepLoad&) const { return dpgather::LenMode::max_len; }
};
dpgather::Auto<dpgather::VolumeRule> good;
dpgather::Auto<Sometimes> bad;  // wrong
