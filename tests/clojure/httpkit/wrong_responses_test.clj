(ns httpkit.wrong-responses-test
  "What the log says of a response that cannot be sent, or not as it was meant."
  (:require [clojure.test       :refer [deftest is]]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server]))

(set! *warn-on-reflection* true)

(defn- response-answer [response]
  (wire/with-server [{:keys [port errors warnings]} (constantly response) {}]
    (let [answers (mapv (fn [_] (wire/fetch port "/")) (range 2))]
      [(peek answers) (first @errors) @warnings])))

(deftest a-status-that-is-no-integer-counts-as-200-and-is-one-warning
  (doseq [[status shown] [["404" "of class java.lang.String"] [:ok "of class clojure.lang.Keyword"]
                          [404.0 "of class java.lang.Double"]]]
    (let [[answer error warnings] (response-answer {:status status :body "x"})]
      (is (= 200 (:status answer)))
      (is (nil? error))
      (is (= [[(str "GET /: response :status " shown " counts as 200: expected an Integer or Long") nil]] warnings))))
  (let [[answer _ warnings] (response-answer {:status nil :body "x"})]
    (is (= [200 []] [(:status answer) warnings]))))

(deftest a-response-that-is-no-map-is-named
  (doseq [[response class-name] [["x" "java.lang.String"] [42 "java.lang.Long"] [[1] "clojure.lang.PersistentVector"]]]
    (let [[{:keys [status body]} [_ e]] (response-answer response)]
      (is (= [500 ClassCastException (str "response of class " class-name ": expected a map, or nil for 404")]
             [status (class e) body])))))

(deftest nil-instead-of-a-response-is-404-and-one-warning
  (let [[{:keys [status]} error warnings] (response-answer nil)]
    (is (= [404 nil [["GET /: the handler returned nil, which is sent as a 404" nil]]] [status error warnings]))))

(deftest a-body-of-another-class-is-named-with-what-is-allowed
  (doseq [[body class-name] [[42 "java.lang.Long"] [:x "clojure.lang.Keyword"]]]
    (let [[{:keys [status body]} [_ e]] (response-answer {:body body})
          message (str "class " class-name " is not understandable: a response's :body is nil, a String, byte[], ByteBuffer, InputStream, File or a sequence")]
      (is (= [500 message RuntimeException] [status body (class e)])))))

(deftest nil-in-a-body-is-named
  (let [[{:keys [status body]} [_ e]] (response-answer {:body ["a" nil]})]
    (is (= [500 NullPointerException "nil in a response's :body, a sequence"] [status (class e) body]))))

(deftest a-header-that-cannot-be-sent-is-named-without-its-value
  (doseq [[headers class message]
          [[{:content-type "x"}          ClassCastException       "response header :content-type: its name is of class clojure.lang.Keyword, expected a String"]
           [{nil "x"}                    NullPointerException     "response header nil: its name is nil, expected a String"]
           [{"Location" "/a\r\nX: s3cr3t"} IllegalArgumentException "Invalid character in HTTP header value: Location has a control character at index 2"]
           [{"X-Wide" "\u00fc\n"}        IllegalArgumentException "Invalid character in HTTP header value: X-Wide has a control character at index 1"]
           [{"A b" "x"}                  IllegalArgumentException "Invalid HTTP header name: A b"]
           [{"X-List" ["a" nil]}         NullPointerException     "nil among the values of response header X-List"]
           [{"X-Bytes" (.getBytes "abc")} IllegalArgumentException "Invalid HTTP header value: X-Bytes is of class byte[], expected a String or a seq of Strings"]
           [{"X-Chars" (char-array "abc")} IllegalArgumentException "Invalid HTTP header value: X-Chars is of class char[], expected a String or a seq of Strings"]
           [{"X-Longs" ["a" (long-array 2)]} IllegalArgumentException "Invalid HTTP header value: X-Longs is of class long[], expected a String or a seq of Strings"]
           [{"Content-Type" (.getBytes "a/b")} IllegalArgumentException "Invalid HTTP header value: Content-Type is of class byte[], expected a String or a seq of Strings"]]]
    (let [[{:keys [status body]} [_ e]] (response-answer {:headers headers :body "x"})]
      (is (= [500 class message message] [status (clojure.core/class e) body (ex-message e)])))))

;; The same of what is sent on a channel

(defn- sent-answer [data]
  (wire/with-server [{:keys [port errors warnings]}
                     #(server/as-channel % {:on-open (fn [ch] (server/send! ch data))}) {}]
    [(wire/fetch port "/") (first @errors) @warnings]))

(deftest what-send-refuses-is-named-as-in-a-response
  (doseq [[data class message]
          [[42                            RuntimeException         "class java.lang.Long is not understandable: a response's :body is nil, a String, byte[], ByteBuffer, InputStream, File or a sequence"]
           [{:body :x}                    RuntimeException         "class clojure.lang.Keyword is not understandable: a response's :body is nil, a String, byte[], ByteBuffer, InputStream, File or a sequence"]
           [["a" nil]                     NullPointerException     "nil among the parts of a body"]
           [{:headers {:content-type ""}} ClassCastException       "response header :content-type: its name is of class clojure.lang.Keyword, expected a String"]
           [{:headers {"X" "a\nb"}}       IllegalArgumentException "Invalid character in HTTP header value: X has a control character at index 1"]]]
    (let [[{:keys [status body]} [_ e]] (sent-answer data)]
      (is (= [500 class message] [status (clojure.core/class e) body])))))

(deftest a-status-that-is-no-integer-is-a-warning-of-send-too
  (let [[answer error warnings] (sent-answer {:status "404" :body "x"})]
    (is (= [200 nil [["send!: response :status of class java.lang.String counts as 200: expected an Integer or Long" nil]]]
           [(:status answer) error warnings]))))
