(ns ^:newest-jdk httpkit.client-httpbin-test
  "The client against httpbin, which says what it received. `./dev` installs it into build/httpbin; without it the
  test is left out, and says so."
  (:require [clojure.string :as str]
            [clojure.test :refer [deftest is testing use-fixtures]]
            [httpkit.client-peer :as peer]
            [httpkit.golden.json :as json]
            [org.httpkit.client :as client])
  (:import [java.io File]
           [java.net ConnectException ServerSocket Socket]
           [java.util.concurrent TimeUnit]))

(set! *warn-on-reflection* true)

(def ^:private ^File gunicorn (File. "build/httpbin/bin/gunicorn"))
(def ^:private ^:dynamic *port* nil)

(defn- listening? [port]
  (try (.close (Socket. "127.0.0.1" (int port))) true
       (catch ConnectException _ false)))

(defn- with-httpbin [tests]
  (if-not (.canExecute gunicorn)
    (println "left out: httpbin is not in build/httpbin")
    (let [port    (with-open [s (ServerSocket. 0)] (.getLocalPort s))
          process (.start (doto (ProcessBuilder. ^"[Ljava.lang.String;" (into-array String
                                  [(str gunicorn) "-w" "1" "--threads" "8" "--keep-alive" "5"
                                   "-b" (str "127.0.0.1:" port) "httpbin:app"]))
                            (.redirectErrorStream true)
                            (.redirectOutput (File. "/dev/null"))))]
      (try
        (is (peer/eventually #(listening? port)) "httpbin runs")
        (binding [*port* port] (tests))
        (finally
          (.destroy process)
          (when-not (.waitFor process 10 TimeUnit/SECONDS) (.destroyForcibly process)))))))

(use-fixtures :once with-httpbin)

(defn- call [method path & [opts]]
  @(client/request (merge {:method method :url (str "http://127.0.0.1:" *port* path) :timeout 10000} opts)))

(defn- parsed [response] (json/parse (:body response)))

(deftest what-we-send-is-what-httpbin-received
  (testing "query and headers"
    (let [echo (parsed (call :get "/get" {:query-params {:a "1 2" :b "é"} :headers {"X-Own" "yes"}}))]
      (is (= {"a" "1 2" "b" "é"} (get echo "args")))
      (is (= "yes" (get-in echo ["headers" "X-Own"])))))
  (testing "form"
    (is (= {"x" "y z"} (get (parsed (call :post "/post" {:form-params {:x "y z"}})) "form"))))
  (testing "body of each method"
    (doseq [method [:post :put :patch :delete]]
      (is (= "text" (get (parsed (call method (str "/" (name method)) {:body "text"})) "data")) method)))
  (testing "multipart"
    (let [file (doto (File/createTempFile "part" ".txt") (.deleteOnExit) (spit "of a file"))
          echo (parsed (call :post "/post" {:multipart [{:name "field" :content "value"}
                                                        {:name "file" :content file :filename "part.txt"}]}))]
      (is (= {"field" "value"} (get echo "form")))
      (is (= {"file" "of a file"} (get echo "files"))))))

(deftest codings-are-undone
  (is (true? (get (parsed (call :get "/gzip")) "gzipped")))
  (is (true? (get (parsed (call :get "/deflate")) "deflated")))
  (is (str/includes? (:body (call :get "/encoding/utf8")) "∮ E⋅da = Q")))

(deftest statuses-and-redirects
  (doseq [status [200 204 304 404 418 500]]
    (is (= status (:status (call :get (str "/status/" status))))))
  (let [{:keys [status opts]} (call :get "/redirect/3")]
    (is (= 200 status))
    (is (= 3 (count (:trace-redirects opts)))))
  (is (= 302 (:status (call :get "/redirect/1" {:follow-redirects false})))))

(deftest credentials-are-understood
  (is (= 200 (:status (call :get "/basic-auth/u/p" {:basic-auth ["u" "p"]}))))
  (is (= 401 (:status (call :get "/basic-auth/u/p" {:basic-auth ["u" "wrong"]}))))
  (is (= "t0ken" (get (parsed (call :get "/bearer" {:oauth-token "t0ken"})) "token"))))

(deftest bodies-of-every-framing-arrive
  (is (= 10000 (alength ^bytes (:body (call :get "/bytes/10000" {:as :byte-array})))))
  (is (= 10000 (alength ^bytes (:body (call :get "/stream-bytes/10000" {:as :byte-array})))))
  (is (= 20 (count (str/split-lines (slurp (:body (call :get "/stream/20" {:as :stream}))))))))

(deftest a-slow-answer-ends-at-the-deadline
  (let [start (System/nanoTime)
        error (:error (call :get "/delay/10" {:deadline 300}))]
    (is (instance? org.httpkit.client.TimeoutException error))
    (is (< (quot (- (System/nanoTime) start) 1000000) 8000))))

(deftest one-connection-serves-one-request-after-the-other
  (let [c (client/make-client {})]
    (try
      (dotimes [_ 5] (is (= 200 (:status (call :get "/get" {:client c})))))
      (is (= 1 (:opened (client/client-stats c))))
      (finally (client/client-stop! c)))))
