(ns httpkit.golden-test
  "The golden data as tests: one per file, listing the cases that failed."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is]]
            [httpkit.golden.conn :as conn]
            [httpkit.golden.main :as main]
            [httpkit.golden.runner :as runner]))

(set! *warn-on-reflection* true)

(defn- failures
  "Report of the failed cases of `file`, nil when all passed."
  [file]
  (let [results (main/replay {:file [file]})]
    (if (empty? results)
      (str "no case of " file " found")
      (not-empty (str/join "\n" (map main/report-failure (remove runner/passed? results)))))))

(deftest requests-on-the-wire-are-served-as-recorded (is (nil? (failures "server-wire"))))
(deftest responses-are-sent-as-recorded (is (nil? (failures "server-responses"))))
(deftest channels-behave-as-recorded (is (nil? (failures "server-channel"))))
(deftest websockets-behave-as-recorded (is (nil? (failures "websocket"))))
(deftest what-holds-for-plain-http-holds-over-tls
  (reset! conn/tls? true)
  (try
    (doseq [file ["server-responses" "server-channel"]]
      (is (nil? (failures file))))
    (finally (reset! conn/tls? false))))

(deftest requests-are-sent-as-recorded (is (nil? (failures "client-wire"))))
(deftest answers-are-understood-as-recorded (is (nil? (failures "client-responses"))))
(deftest options-are-understood-as-recorded (is (nil? (failures "options"))))
