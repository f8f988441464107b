// message: (conversion from|no viable conversion from|could not convert) .*Rows<const float>
#include <dpgather/core/rows.hpp>

dpgather::Rows<const float> read(dpgather::Rows<float> rows) {
  return rows;
}
dpgather::Rows<float> write(dpgather::Rows<const float> rows) {  // wrong
  return rows;                                                   // wrong
}  // wrong
