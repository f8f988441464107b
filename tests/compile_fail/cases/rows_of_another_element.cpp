// message: (conversion from|no viable conversion from|could not convert) .*Rows<double>
#include <dpgather/core/rows.hpp>

dpgather::Rows<const float> same(dpgather::Rows<float> rows) {
  return rows;
}
dpgather::Rows<const float> other(dpgather::Rows<double> rows) {  // wrong
  return rows;                                                    // wrong
}  // wrong
