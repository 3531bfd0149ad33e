(ns httpkit.big-upload-test
  "Uploads that are longer than the heap. `./dev big-upload` runs the same with gigabytes."
  (:require [clojure.test       :refer [deftest is testing]]
            [httpkit.big-upload :as big-upload]))

(def ^:private mib (* 1024 1024))

(deftest uploads-longer-than-the-heap-do-not-grow-the-server
  (big-upload/with-process
    (fn [process port]
      (doseq [[way {:keys [value expected growth-kib]}] (big-upload/measure process port (* 256 mib) 16 (* 16 mib))]
        (testing (name way)
          (is (= expected value))
          ;; What a JVM compiles and collects meanwhile is in it, so more than the 8 MiB of a long run.
          (is (< (long growth-kib) (* 32 1024))))))))
